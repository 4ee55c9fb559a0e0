# SPDX-License-Identifier: Apache-2.0
"""Where lines wait, and how it is known that they arrived."""
