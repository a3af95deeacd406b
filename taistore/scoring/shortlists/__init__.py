"""The best labels of images among thousands: found with cheap products, scored exactly."""
