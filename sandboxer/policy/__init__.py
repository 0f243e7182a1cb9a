"""Policy files → Policy."""
