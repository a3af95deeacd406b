"""Any CLIP that open_clip knows: the production encoder."""
