"""Disks of instances: what they are, how they grow, and how a StatefulSet is made anew."""
