"""The 4D diffusion: trunk, channels, frame VAE, encoders, schedules and published weights."""
