"""What `covid-monai worker check` examines."""
