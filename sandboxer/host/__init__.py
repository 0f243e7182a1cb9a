"""What this machine and session offer. Every fact that is asked for is remembered, to become a stamp of the plan."""
