"""What differs between tasks: how targets are encoded, what a prediction is, and when it is right."""

from headstart.tasks.task import TASKS, Task

__all__ = ["TASKS", "Task"]
