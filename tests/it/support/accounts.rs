//! The accounts of the tests, one in each mode, with made-up secrets.

use qunfa::domain::Time;
use qunfa::simulator::{Sender, SignedPush};
use qunfa::wechat::{AppId, EncodingAesKey, Encryption, Mode, Token};

/// An account as both sides know it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) name: &'static str,
    pub(crate) mode: &'static str,
    pub(crate) token: &'static str,
    pub(crate) app_id: &'static str,
    pub(crate) aes_key: &'static str,
}

pub(crate) const PLAIN: Account = Account {
    name: "plain",
    mode: "plain",
    token: "PlainTokenOfTheTests0001",
    app_id: "wx00000000000000a1",
    aes_key: "PlainAccountsHaveNoUseForAKeyButMayHaveOne0",
};

pub(crate) const COMPATIBLE: Account = Account {
    name: "compatible",
    mode: "compatible",
    token: "CompatibleTokenOfTheTests02",
    app_id: "wx00000000000000b2",
    aes_key: "CompatibleKeyOfTheTestsWithTrailingBits0003",
};

pub(crate) const SAFE: Account = Account {
    name: "safe",
    mode: "safe",
    token: "SafeTokenOfTheTests00003",
    app_id: "wx00000000000000c3",
    aes_key: "SafeKeyOfTheTestsThatIs43CharactersLong0003",
};

impl Account {
    /// What stands for the account in a configuration file.
    pub(crate) fn toml(&self) -> String {
        format!(
            "[accounts.{}]\nmode = \"{}\"\ntoken = \"{}\"\napp_id = \"{}\"\nencoding_aes_key = \"{}\"\n",
            self.name, self.mode, self.token, self.app_id, self.aes_key
        )
    }

    /// WeChat's side of the account.
    pub(crate) fn sender(&self) -> Sender {
        let encryption = Encryption {
            app_id: AppId::new(self.app_id).unwrap(),
            key: EncodingAesKey::new(self.aes_key).unwrap(),
            previous_key: None,
        };
        Sender {
            token: Token::new(self.token).unwrap(),
            mode: match self.mode {
                "safe" => Mode::Safe(encryption),
                "compatible" => Mode::Compatible(encryption),
                _ => Mode::Plain,
            },
        }
    }

    /// A message as WeChat would send it now.
    pub(crate) fn sign(&self, message: impl AsRef<[u8]>) -> SignedPush {
        self.sender().sign(message.as_ref(), Time::now()).unwrap()
    }

    /// The query of a check of the URL, without `echostr`.
    pub(crate) fn sign_query(&self, timestamp: &str, nonce: &str) -> String {
        let token = Token::new(self.token).unwrap();
        let signature = token.sign(timestamp.as_bytes(), nonce.as_bytes()).to_hex();
        format!("signature={signature}&timestamp={timestamp}&nonce={nonce}")
    }

    /// The `Encrypt` text of a message.
    pub(crate) fn encrypt(&self, message: impl AsRef<[u8]>) -> String {
        let key = EncodingAesKey::new(self.aes_key).unwrap();
        let app_id = AppId::new(self.app_id).unwrap();
        key.seal(message.as_ref(), &app_id, *b"sixteen randoms.")
    }

    /// The query of an encrypted push, `msg_signature` last.
    pub(crate) fn sign_encrypt(&self, encrypt: &str, timestamp: &str, nonce: &str) -> String {
        let token = Token::new(self.token).unwrap();
        let msg_signature =
            token.sign_message(timestamp.as_bytes(), nonce.as_bytes(), encrypt.as_bytes());
        let query = self.sign_query(timestamp, nonce);
        format!(
            "{query}&encrypt_type=aes&msg_signature={}",
            msg_signature.to_hex()
        )
    }
}

/// Seconds since 1970, as WeChat writes them.
pub(crate) fn timestamp() -> String {
    Time::now().seconds().to_string()
}
