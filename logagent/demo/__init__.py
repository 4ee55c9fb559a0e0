# SPDX-License-Identifier: Apache-2.0
"""The demo: a writer, an agent, a broker and a consumer, each a process of its own, and a screen that compares."""
