"""What runs on a device: no torch, no Ray, no timm."""
