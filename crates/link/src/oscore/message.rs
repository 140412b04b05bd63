//! Protecting and reading messages (RFC 8613, section 8), with Observe and the combined request (RFC 9668).

use crate::{
    cbor::{Kind, Reader, Writer},
    coap::{
        message::{Body, Builder, Code, Message},
        option,
    },
    crypto::{Crypto, CryptoError},
};

use super::{
    Asked, Context, FORGERIES, Header, Id, Inner, Outside, Owed, ProtectError, Refused, Request,
    Response, To, header::Number, window::Window,
};

/// The EDHOC message 3 in front of a combined request (RFC 9668, section 3.3), as EDHOC takes it; nothing if it is another
/// message. With the context that comes of it, [`Context::unprotect_request`] reads the rest.
pub fn message_3<'a>(message: &Message<'a>) -> Result<Option<&'a [u8]>, Refused> {
    let payload = message.body.payload();
    if !message
        .body
        .options()
        .any(|(number, _)| number == option::EDHOC)
    {
        return Ok(None);
    }
    let mut reader = Reader::new(payload);
    if reader.peek() != Ok(Kind::Bytes) {
        return Err(Refused::Malformed);
    }
    reader.skip().map(Some).map_err(|_| Refused::Malformed)
}

impl<'a> Header<'a> {
    /// What a message says of its protection; nothing if it is not protected.
    pub fn of(message: &Message<'a>) -> Result<Option<Self>, Refused> {
        let mut options = message.body.options();
        let mut oscore = options
            .by_ref()
            .filter(|(number, _)| *number == option::OSCORE);
        let Some((_, value)) = oscore.next() else {
            return Ok(None);
        };
        // Section 2: once, and never without a payload.
        if oscore.next().is_some() || message.body.payload().is_empty() {
            return Err(Refused::Malformed);
        }
        Self::parse(value).map(Some).ok_or(Refused::Malformed)
    }
}

/// Where the ciphertext of a datagram is, and what came with it.
struct Received {
    number: Option<u64>,
    kid: Option<Id>,
    request: bool,
    /// Where the ciphertext begins.
    from: usize,
}

impl Received {
    fn read(datagram: &[u8]) -> Result<Self, Refused> {
        let message = Message::parse(datagram).map_err(|_| Refused::Malformed)?;
        let header = Header::of(&message)?.ok_or(Refused::Unprotected)?;
        let before = message_3(&message)?.unwrap_or_default().len();
        let length = message.body.payload().len().checked_sub(before);
        let from = length.and_then(|length| datagram.len().checked_sub(length));
        // A kid too long is of no context.
        let kid = header.kid.map(|kid| Id::new(kid).ok_or(Refused::NoContext));
        Ok(Self {
            number: header.number,
            kid: kid.transpose()?,
            request: message.code.is_request(),
            from: from.ok_or(Refused::Malformed)?,
        })
    }
}

/// What a message is wrapped in.
struct Envelope<'a> {
    header: Header<'a>,
    message_3: &'a [u8],
    /// Whose number the nonce has.
    nonce: (&'a Id, u64),
    /// The kid and number of the request.
    request: (&'a Id, u64),
}

impl Context {
    /// Protects a request (section 8.1) into `out`: gives the length, and what the response will be read with.
    pub fn protect_request<C: Crypto>(
        &mut self,
        crypto: &mut C,
        message: &Message<'_>,
        outside: Outside<'_>,
        now: u64,
        out: &mut [u8],
    ) -> Result<(usize, Asked), ProtectError> {
        if !message.code.is_request() {
            return Err(ProtectError::NotPlain);
        }
        let number = self.number(now)?;
        let envelope = Envelope {
            header: Header {
                number: Some(number),
                kid_context: outside.kid_context,
                kid: Some(self.sender_id.as_bytes()),
            },
            message_3: outside.message_3,
            nonce: (&self.sender_id, number),
            request: (&self.sender_id, number),
        };
        let length = self.seal(crypto, message, &envelope, out)?;
        let asked = Asked {
            number,
            observe: message.body.get(option::OBSERVE).is_some(),
            answered: false,
            latest: None,
        };
        Ok((length, asked))
    }

    /// Protects a response (section 8.3) into `out`: gives the length. The first response to a request has the request's nonce,
    /// further ones and all to a request with Observe have one of their own.
    pub fn protect_response<C: Crypto>(
        &mut self,
        crypto: &mut C,
        owed: &mut Owed,
        message: &Message<'_>,
        now: u64,
        out: &mut [u8],
    ) -> Result<usize, ProtectError> {
        self.protect_answer(crypto, owed, message, (now, None), out)
    }

    /// As [`Self::protect_response`], with a kid context, which only appendix B.2 has in a response.
    pub(super) fn protect_answer<C: Crypto>(
        &mut self,
        crypto: &mut C,
        owed: &mut Owed,
        message: &Message<'_>,
        (now, kid_context): (u64, Option<&[u8]>),
        out: &mut [u8],
    ) -> Result<usize, ProtectError> {
        if !message.code.is_response() {
            return Err(ProtectError::NotPlain);
        }
        if !self.usable(now) {
            return Err(ProtectError::Ended);
        }
        let number = if owed.spent {
            Some(self.number(now)?)
        } else {
            None
        };
        // Before anything else can fail: whatever was written with the nonce may have left.
        owed.spent = true;
        let nonce = match number {
            Some(number) => (&self.sender_id, number),
            None => (&self.recipient_id, owed.number),
        };
        let envelope = Envelope {
            header: Header {
                number,
                kid_context,
                kid: None,
            },
            message_3: &[],
            nonce,
            request: (&self.recipient_id, owed.number),
        };
        self.seal(crypto, message, &envelope, out)
    }

    /// Writes the answer to a request that may be from before our restart: 4.01 with an Echo, which the peer repeats (appendix
    /// B.1.2). Gives the length.
    pub fn challenge<C: Crypto>(
        &mut self,
        crypto: &mut C,
        mut owed: Owed,
        to: To,
        now: u64,
        out: &mut [u8],
    ) -> Result<usize, ProtectError> {
        // Header, token, and an Echo of at most five bytes.
        let mut plain = [0; 24];
        let mut builder = Builder::new(&mut plain, to.kind, Code::UNAUTHORIZED, to.id, &to.token);
        let challenge = match self.window {
            Window::Lost { challenge } => challenge,
            // Another request proved itself since: this one need only be asked again.
            Window::Known { .. } => 0,
        };
        builder.option(option::ECHO, Number::new(challenge).as_bytes());
        let message = Message::parse(builder.finish()?).map_err(|_| ProtectError::NotPlain)?;
        owed.spent = true;
        self.protect_response(crypto, &mut owed, &message, now, out)
    }

    /// Reads a request (section 8.2), decrypting it in place. Of a combined request, message 3 is passed over.
    pub fn unprotect_request<'a, C: Crypto>(
        &mut self,
        crypto: &mut C,
        datagram: &'a mut [u8],
        now: u64,
    ) -> Result<Request<'a>, Refused> {
        let received = Received::read(datagram)?;
        let (Some(number), Some(kid), true) = (received.number, received.kid, received.request)
        else {
            return Err(Refused::Malformed);
        };
        if kid != self.recipient_id {
            return Err(Refused::NoContext);
        }
        if !self.usable(now) {
            return Err(Refused::Ended);
        }
        if self.window.replayed(number) {
            return Err(Refused::Replayed);
        }
        let inner = self.open(
            crypto,
            datagram,
            received.from,
            (&kid, number),
            (&kid, number),
        )?;
        let mut owed = Owed {
            number,
            spent: inner.body.get(option::OBSERVE).is_some(),
        };
        if let Window::Lost { challenge } = self.window {
            let echo = inner.body.get(option::ECHO);
            if echo != Some(Number::new(challenge).as_bytes()) {
                owed.spent = true;
                return Err(Refused::NotFresh(owed));
            }
        }
        self.window.accept(number);
        if !inner.code.is_request() {
            return Err(Refused::Malformed);
        }
        Ok(Request { inner, owed })
    }

    /// Reads a response to our request (section 8.4), decrypting it in place. An error changes nothing: the right one may still
    /// come.
    pub fn unprotect_response<'a, C: Crypto>(
        &mut self,
        crypto: &mut C,
        asked: &mut Asked,
        datagram: &'a mut [u8],
        now: u64,
    ) -> Result<Response<'a>, Refused> {
        let received = Received::read(datagram)?;
        if received.request {
            return Err(Refused::Malformed);
        }
        if received.kid.is_some_and(|kid| kid != self.recipient_id) {
            return Err(Refused::NoContext);
        }
        if !self.usable(now) {
            return Err(Refused::Ended);
        }
        // Section 7.4.1; of notifications out of order, the newest is enough.
        let replayed = match received.number {
            None => asked.answered || asked.latest.is_some(),
            Some(number) => {
                asked.latest.is_some_and(|latest| number <= latest)
                    || (asked.answered && !asked.observe)
            }
        };
        if replayed {
            return Err(Refused::Replayed);
        }
        let (ours, theirs) = (self.sender_id, self.recipient_id);
        let request = (&ours, asked.number);
        let nonce = received.number.map_or(request, |number| (&theirs, number));
        let inner = self.open(crypto, datagram, received.from, nonce, request)?;
        let notification = inner.body.get(option::OBSERVE).is_some();
        if !inner.code.is_response() || (notification && !asked.observe) {
            return Err(Refused::Malformed);
        }
        asked.answered |= received.number.is_none() || !asked.observe;
        asked.latest = received.number.or(asked.latest);
        let order = received.number.unwrap_or_default();
        Ok(Response {
            inner,
            order: notification.then_some(order),
        })
    }

    /// Takes the next Sender Sequence Number: whatever comes of the message, it is used.
    fn number(&mut self, now: u64) -> Result<u64, ProtectError> {
        if !self.usable(now) {
            return Err(ProtectError::Ended);
        }
        let number = self.next;
        if number >= self.limit {
            return Err(ProtectError::NotKept);
        }
        self.next = number.saturating_add(1);
        Ok(number)
    }

    /// Writes and encrypts a message (sections 4 and 5).
    fn seal<C: Crypto>(
        &self,
        crypto: &mut C,
        message: &Message<'_>,
        envelope: &Envelope<'_>,
        out: &mut [u8],
    ) -> Result<usize, ProtectError> {
        let options = message.body.options();
        let unfit = [option::OSCORE, option::EDHOC, option::PROXY_URI];
        if options.clone().any(|(number, _)| unfit.contains(&number)) {
            return Err(ProtectError::NotPlain);
        }
        let request = message.code.is_request();
        let observe = message.body.get(option::OBSERVE).is_some();
        // Sections 4.1.3.5 and 4.2.
        let code = match (request, observe) {
            (true, false) => Code::POST,
            (true, true) => Code::FETCH,
            (false, false) => Code::CHANGED,
            (false, true) => Code::CONTENT,
        };
        let mut value = [0; 128];
        let value = envelope.header.write(&mut value);
        let value = value.map_err(|_| ProtectError::Full)?;
        let combined = !envelope.message_3.is_empty();
        let mut builder = Builder::new(out, message.kind, code, message.id, &message.token);
        builder
            .copy(options.clone(), |it| {
                it < option::OSCORE && (outer(it) || it == option::OBSERVE)
            })
            .option(option::OSCORE, value)
            .copy(options.clone(), |it| {
                (option::OSCORE..option::EDHOC).contains(&it) && outer(it)
            });
        if combined {
            builder.option(option::EDHOC, &[]);
        }
        builder.copy(options.clone(), |it| it > option::EDHOC && outer(it));
        let (before, space) = builder.payload_space()?;
        let front = envelope.message_3;
        let (place, space) = space
            .split_at_mut_checked(front.len())
            .ok_or(ProtectError::Full)?;
        place.copy_from_slice(front);

        let mut plaintext = Builder::plaintext(space, message.code);
        for (number, value) in options.filter(|(number, _)| !outer(*number)) {
            // Section 4.1.3.5.2: the place of a notification is told by its number.
            let numbered = number == option::OBSERVE && !request;
            plaintext.option(number, if numbered { &[] } else { value });
        }
        let length = plaintext.payload(message.body.payload())?.len();
        let length = length.saturating_add(self.aead.tag_length());
        let sealed = space.get_mut(..length).ok_or(ProtectError::Full)?;
        let nonce = self.nonce(envelope.nonce);
        let mut aad = [0; AAD];
        let aad = self.aad(envelope.request, &mut aad);
        let done = crypto.seal(self.aead, self.sender_key.expose(), &nonce, aad, sealed);
        if let Err(error) = done {
            sealed.fill(0);
            return Err(ProtectError::Crypto(error));
        }
        Ok(before.saturating_add(front.len()).saturating_add(length))
    }

    /// Decrypts and reads what begins at `from`.
    fn open<'a, C: Crypto>(
        &mut self,
        crypto: &mut C,
        datagram: &'a mut [u8],
        from: usize,
        nonce: (&Id, u64),
        request: (&Id, u64),
    ) -> Result<Inner<'a>, Refused> {
        let sealed = datagram.get_mut(from..).unwrap_or_default();
        // At least a code and a tag.
        let length = sealed
            .len()
            .checked_sub(self.aead.tag_length())
            .filter(|length| *length > 0)
            .ok_or(Refused::Malformed)?;
        let nonce = self.nonce(nonce);
        let mut aad = [0; AAD];
        let aad = self.aad(request, &mut aad);
        match crypto.open(self.aead, self.recipient_key.expose(), &nonce, aad, sealed) {
            Ok(()) => {}
            Err(CryptoError::NotAuthentic) => {
                self.forgeries = self.forgeries.saturating_add(1).min(FORGERIES);
                return Err(Refused::NotAuthentic);
            }
            Err(error) => return Err(Refused::Crypto(error)),
        }
        let sealed: &'a [u8] = sealed;
        let plaintext = sealed.get(..length).unwrap_or_default();
        let (&code, rest) = plaintext.split_first().ok_or(Refused::Malformed)?;
        let body = Body::parse(rest).ok_or(Refused::Malformed)?;
        // Section 4.1.3.7: nothing is protected twice.
        if body.get(option::OSCORE).is_some() {
            return Err(Refused::Malformed);
        }
        let code = Code(code);
        Ok(Inner { code, body })
    }

    /// The nonce of a number of whoever has this ID (section 5.2).
    fn nonce(&self, (id, number): (&Id, u64)) -> [u8; 13] {
        let mut nonce = *self.common_iv.expose();
        let id = id.as_bytes();
        let length = u8::try_from(id.len()).unwrap_or_default();
        let number = Number::new(number).padded();
        let [size, rest @ ..] = &mut nonce;
        *size ^= length;
        // From the right: five bytes of the number, then the ID.
        let value = number.iter().rev().chain(id.iter().rev());
        for (place, byte) in rest.iter_mut().rev().zip(value) {
            *place ^= byte;
        }
        nonce
    }

    /// The additional authenticated data for a request's kid and number (section 5.4). There are no options of class I.
    fn aad<'a>(&self, (kid, number): (&Id, u64), out: &'a mut [u8; AAD]) -> &'a [u8] {
        let mut array = [0; AAD];
        let mut array = Writer::new(&mut array);
        array.array(5).uint(1).array(1).int(self.aead.cose().into());
        array.bytes(kid.as_bytes());
        array.bytes(Number::new(number).as_bytes()).bytes(&[]);
        let array = array.finish().unwrap_or_default();
        let mut aad = Writer::new(out);
        aad.array(3).text("Encrypt0").bytes(&[]).bytes(array);
        // IDs and numbers have their longest: it always fits.
        aad.finish().unwrap_or_default()
    }
}

/// The longest additional authenticated data: an ID of seven bytes, a number of five, an algorithm of two.
const AAD: usize = 11 + 1 + 21;

/// Whether an option is outside only: of class U (section 4.1, figure 5; RFC 8768, section 6).
const fn outer(number: u16) -> bool {
    matches!(
        number,
        option::URI_HOST | option::URI_PORT | option::HOP_LIMIT | option::PROXY_SCHEME
    )
}
