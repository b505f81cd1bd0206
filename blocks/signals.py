"""How `blocks` tells the world that people changed memories, without knowing who listens."""

from django.dispatch import Signal

# Sent inside the transaction of the change. kwargs: memories (list of Memory, of one project).
memories_changed = Signal()
