"""How one OPC UA server is to be spoken to: the table [device.opcua] of a site file. Loads no OPC UA library."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

Policy = Literal["None", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"]
Mode = Literal["Sign", "SignAndEncrypt"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]+$")]
FINGERPRINT_DIGITS = 64  # of a SHA-256


class OpcUaSettings(BaseModel):
    """Security, sign-on and subscription of one device. All keys may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    security_policy: Policy = Field(
        "None", description="None, Basic256Sha256, Aes128_Sha256_RsaOaep or Aes256_Sha256_RsaPss"
    )
    mode: Mode = Field("SignAndEncrypt", description="Sign or SignAndEncrypt; no meaning without a policy")
    server_fingerprint: str = Field(
        "", description="SHA-256 of the server's certificate, 64 hex digits, colons allowed"
    )
    username: str = Field("", description="user name, if the server asks for one")
    password_file: Path | None = Field(None, description="a file that holds the password and nothing else")
    certificate_file: Path | None = Field(
        None, description="our certificate (DER or PEM); made and kept beside the spool if not given"
    )
    key_file: Path | None = Field(None, description="private key of certificate_file (PEM), for its owner only")
    subscribe: bool | tuple[Name, ...] | None = Field(
        None, description="true for all points, false for none, or names of points; else as the profile says"
    )
    publishing_s: float = Field(0.5, ge=0.05, le=3600.0, description="seconds between publishes of changes")
    reread_s: float = Field(
        300.0, ge=1.0, le=86_400.0, description="seconds after which a point that is watched is read all the same"
    )
    history: bool = Field(True, description="false leaves the server's history alone after a gap")

    @field_validator("server_fingerprint")
    @classmethod
    def _plain(cls, value: str) -> str:
        digits = value.replace(":", "").replace(" ", "").lower()
        if digits and (len(digits) != FINGERPRINT_DIGITS or set(digits) - set("0123456789abcdef")):
            raise ValueError(f"{len(digits)} characters are not the 64 hex digits of a SHA-256")
        return digits

    @model_validator(mode="after")
    def _fits_together(self) -> "OpcUaSettings":
        if self.security_policy == "None" and self.server_fingerprint:
            raise ValueError(
                'server_fingerprint checks nothing under security_policy = "None"; name the policy as well'
            )
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together; give both or neither")
        if self.password_file is not None and not self.username:
            raise ValueError("password_file needs username beside it")
        if self.username and not self.is_encrypted:
            raise ValueError('a password is only sent encrypted; give security_policy and mode = "SignAndEncrypt"')
        return self

    @property
    def is_encrypted(self) -> bool:
        return self.security_policy != "None" and self.mode == "SignAndEncrypt"

    def beside(self, site_folder: Path, own_folder: Path) -> "OpcUaSettings":
        """The same with absolute paths: given ones seen from the site file, our certificate in `own_folder`."""
        paths = {
            "password_file": self.password_file and site_folder / self.password_file,
            "certificate_file": site_folder / (self.certificate_file or own_folder / "client.der"),
            "key_file": site_folder / (self.key_file or own_folder / "client.key.pem"),
        }
        return self.model_copy(update=paths)
