"""What `inspect` does: census, conventions, sickness, doctor."""
