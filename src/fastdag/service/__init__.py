"""The service: one Manager behind HTTP on a Unix socket, for scripts and for any language; `fastdag serve`."""
