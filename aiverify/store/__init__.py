"""aiverify's own sealed copy of what passed."""
