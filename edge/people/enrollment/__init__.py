"""Enrollment: photographs and live challenges that become templates."""
