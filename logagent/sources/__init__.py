# SPDX-License-Identifier: Apache-2.0
"""Where lines come from."""
