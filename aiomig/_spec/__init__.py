"""Job descriptions: their validation, and their conversion to mRSL. No I/O except ``stat``."""
