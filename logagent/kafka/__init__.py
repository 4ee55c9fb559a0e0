# SPDX-License-Identifier: Apache-2.0
"""What goes over the wire to Kafka: record batches, requests, connections."""
