"""Enrollment: photos and live challenges that become templates."""
