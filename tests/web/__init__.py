"""Tests of `aiomig.web`: the HTTP API, its defences, the program ``aiomig serve``, and the page in a browser."""
