"""The service that answers devices: gateway, dispatch, replica, commit."""
