"""The errors a user can meet. Each message names the field or file, what was found, and the mend."""


class MotherlodeError(Exception):
    """Base of every error that Motherlode raises on purpose; the command line prints it without a traceback."""


class CampaignFileError(MotherlodeError):
    """The campaign file is missing, unreadable or says something impossible."""


class CrystalError(MotherlodeError):
    """A structure cannot be a crystal: overlapping or non-finite coordinates, partial occupancy, no lattice."""


class ReferencePhaseError(MotherlodeError):
    """Reference phases are missing, unreadable, incomplete for the chemical system, or of mixed fidelities."""


class HullError(MotherlodeError):
    """A convex hull cannot be built or asked: mixed fidelities, missing elements, non-finite energies."""


class LedgerError(MotherlodeError):
    """The ledger cannot be opened or written: dead server, read-only folder, full disk, foreign schema."""


class LeaseLostError(LedgerError):
    """Another driver has taken the campaign over; this one must stop writing at once."""


class PotentialError(MotherlodeError):
    """A potential cannot be loaded (missing weights, wrong import path) or does not know an element."""


class CorrectionError(MotherlodeError):
    """The energy correction of a crystal cannot be decided: nobody can say which of its elements are anions."""


class GeneratorError(MotherlodeError):
    """A generator cannot propose anything under the condition it was given."""


class VerificationError(MotherlodeError):
    """A verification level is misconfigured or its codes are missing."""


class BudgetError(MotherlodeError):
    """The budget cannot pay for a single iteration, or names a currency that nothing spends."""


class AcquisitionError(MotherlodeError):
    """An acquisition policy was given options or observations that it cannot judge, or answered out of its bounds."""


class ExportError(MotherlodeError):
    """A campaign cannot be exported: an unknown format or choice of candidates, or a folder that cannot be written."""
