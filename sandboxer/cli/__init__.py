"""What people type: one module per verb, and how results are shown. Nothing imports this room."""
