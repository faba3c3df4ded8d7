"""Helpers of tools/build_guests and tools/build_images."""
