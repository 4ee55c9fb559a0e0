# SPDX-License-Identifier: Apache-2.0
"""Measures logagent beside rsyslog, in turns, on the same file and the same real broker. See README.md."""
