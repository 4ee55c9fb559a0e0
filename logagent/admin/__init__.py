# SPDX-License-Identifier: Apache-2.0
"""Ask the running agent: HTTP on a Unix socket and, if wanted, on TCP."""
