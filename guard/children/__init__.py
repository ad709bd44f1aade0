"""Child processes that the processes of a machine share: started, kept running and ended for their users."""
