"""Shipped presets: TOML files that hold only what differs from the defaults, each with its reason."""
