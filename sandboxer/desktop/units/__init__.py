"""Units of the user manager: templates of ours, and drop-ins by which other units run in boxes."""
