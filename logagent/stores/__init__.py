# SPDX-License-Identifier: Apache-2.0
"""How Etcd is spoken: one protocol, `Store`, and what implements it."""
