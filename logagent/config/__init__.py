# SPDX-License-Identifier: Apache-2.0
"""What the operator wrote: the INI file becomes one frozen `Settings`, or one error with every fault."""
