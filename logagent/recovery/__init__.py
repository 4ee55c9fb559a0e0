# SPDX-License-Identifier: Apache-2.0
"""What becomes of batches of which nobody knows whether they arrived."""
