# SPDX-License-Identifier: Apache-2.0
"""logagent ships log files to Kafka."""

__version__ = "0.1.0"
