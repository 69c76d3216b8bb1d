"""What a step would cost on hardware that is not here, before it is run."""
