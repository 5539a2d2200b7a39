"""A web page and an HTTP API for a session: ``pip install 'aiomig[web]'``.

`create_app` returns an ASGI application; ``aiomig serve`` serves one on this machine. See docs/web-services.md.

Example::

    import aiomig, uvicorn
    from aiomig.web import create_app

    app = create_app(aiomig.local(on_exit="leave"), token="a long secret")
    uvicorn.run(app, port=8642)         # http://127.0.0.1:8642/?token=a%20long%20secret
"""

from ._app import create_app

__all__ = ["create_app"]
create_app.__module__ = __name__
