# SPDX-License-Identifier: Apache-2.0
"""When lines may go."""
