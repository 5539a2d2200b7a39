"""The description of a job: checked, and turned into mRSL. No I/O but ``stat``."""
