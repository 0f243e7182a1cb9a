"""
The system calls of launchers/kernel.h, compiled by cffi: `lib.kernel_openat2` and so on.

Each gives 0 or what the call gives, and -errno on failure; paths and programs are bytes, descriptors are numbers.
"""

from typing import Any

ffi: Any
lib: Any
