# SPDX-License-Identifier: Apache-2.0
"""What the agent tells about itself: facts (log line and metric), metrics, log, systemd."""
