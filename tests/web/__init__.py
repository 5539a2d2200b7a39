"""Tests of `aiomig.web`: the HTTP API, its security, the program ``aiomig serve``, and the page in a browser."""
