"""Who may ask a sick upstream: ours beside the default rules of others."""
