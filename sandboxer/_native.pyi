"""The plan decoder of launchers/plan.h, compiled by cffi: `lib.plan_check` and the structs that it fills."""

from typing import Any

ffi: Any
lib: Any
