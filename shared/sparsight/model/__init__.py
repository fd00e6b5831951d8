"""The network, one file a stage of the drawing. torch lives here, and only here in the shared half."""
