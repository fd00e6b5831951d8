"""The network, a file a stage. torch lives here, and only here in the shared half."""
