"""Runs untrusted Python, each piece in a process of its own that is locked down before it and gone after it.

`Sandbox` is the whole interface: `Sandbox.start`, `Sandbox.execute`, `Sandbox.process`, `Sandbox.stop`.
"""

from service.sandbox.outcome import Execution, Outcome, Status
from service.sandbox.process import SandboxProcess
from service.sandbox.supervisor import Report, Sandbox, SandboxConfig

__all__ = ["Execution", "Outcome", "Report", "Sandbox", "SandboxConfig", "SandboxProcess", "Status"]
