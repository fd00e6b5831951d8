"""What runs the device's half of the network: one `Engine` for each runtime."""
