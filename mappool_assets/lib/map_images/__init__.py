"""The images of maps: fetched through :mod:`~mappool_assets.lib.image_download`, judged, stored, accounted for."""
