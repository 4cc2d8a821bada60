//! Who a process or a client is.

use std::{
    collections::HashMap,
    io,
    mem::offset_of,
    ptr,
    sync::{Mutex, PoisonError},
};

use windows_sys::Win32::{
    Foundation::{HANDLE, LocalFree},
    Security::{
        Authorization::ConvertSidToStringSidW, CopySid, GetLengthSid, GetTokenInformation, IsWellKnownSid,
        LookupAccountSidW, PSID, SID_AND_ATTRIBUTES, TOKEN_GROUPS, TOKEN_INFORMATION_CLASS, TOKEN_QUERY,
        TOKEN_USER, TokenGroups, TokenUser, WELL_KNOWN_SID_TYPE, WinBuiltinAdministratorsSid,
        WinLocalSystemSid,
    },
    System::{
        SystemServices::SE_GROUP_ENABLED,
        Threading::{
            GetCurrentProcess, GetCurrentThread, OpenProcess, OpenProcessToken, OpenThreadToken,
            PROCESS_QUERY_LIMITED_INFORMATION,
        },
    },
};

use super::{Handle, done};

/// Identifiers that numbers were given for.
static MET: Mutex<Option<HashMap<u32, Sid>>> = Mutex::new(None);
/// Identifiers kept; a machine with more users at once loses names.
const MOST: usize = 4096;

/// A security identifier: a revision, an authority and numbers below it, the last of which tells users of one domain
/// apart. Kept as the words it is made of, for their alignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sid(Vec<u32>);

impl Sid {
    /// Copies one out of what it came with.
    ///
    /// # Safety
    /// `sid` points to a security identifier that lives until this returns.
    pub(super) unsafe fn copy(sid: PSID) -> Option<Self> {
        if sid.is_null() {
            return None;
        }
        // SAFETY: the caller vouches for it.
        let length = unsafe { GetLengthSid(sid) };
        let mut words = vec![0_u32; usize::try_from(length).ok()?.div_ceil(4)];
        // SAFETY: the buffer is as long as is said.
        let copied = unsafe { CopySid(length, words.as_mut_ptr().cast(), sid) };
        (copied != 0).then_some(Self(words))
    }

    /// Calls take it as mutable and change nothing.
    fn raw(&self) -> PSID {
        self.0.as_ptr().cast_mut().cast()
    }

    fn is(&self, kind: WELL_KNOWN_SID_TYPE) -> bool {
        // SAFETY: it is a whole identifier.
        unsafe { IsWellKnownSid(self.raw(), kind) != 0 }
    }

    /// `S-1-5-21-…`
    pub(crate) fn text(&self) -> io::Result<String> {
        let mut text = ptr::null_mut();
        // SAFETY: it is a whole identifier, and the pointer is written to.
        done(unsafe { ConvertSidToStringSidW(self.raw(), &raw mut text) })?;
        // SAFETY: the call has made a text that ends with a NUL.
        let characters = (0..).map(|at| unsafe { *text.add(at) }).take_while(|&c| c != 0);
        let owned = String::from_utf16_lossy(&characters.collect::<Vec<u16>>());
        // SAFETY: the call's own text, freed once.
        unsafe { LocalFree(text.cast()) };
        Ok(owned)
    }

    /// The number that stands for it: see `platform::user`. Remembered, so that it has a name later.
    pub(crate) fn uid(&self) -> u32 {
        if self.is(WinLocalSystemSid) || self.is(WinBuiltinAdministratorsSid) {
            return 0;
        }
        let uid = number(&self.0);
        let mut met = MET.lock().unwrap_or_else(PoisonError::into_inner);
        let met = met.get_or_insert_default();
        if met.len() < MOST {
            met.entry(uid).or_insert_with(|| self.clone());
        }
        uid
    }

    /// The identifier of a number that was given before.
    pub(crate) fn met(uid: u32) -> Option<Self> {
        MET.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.get(&uid).cloned()
    }

    /// Its name, without its domain.
    pub(crate) fn account(&self) -> Option<String> {
        let (mut name, mut domain) = ([0_u16; 257], [0_u16; 257]);
        let mut name_length = u32::try_from(name.len()).ok()?;
        let mut domain_length = u32::try_from(domain.len()).ok()?;
        let mut kind = 0;
        // SAFETY: the buffers are as long as is said.
        let found = unsafe {
            LookupAccountSidW(
                ptr::null(),
                self.raw(),
                name.as_mut_ptr(),
                &raw mut name_length,
                domain.as_mut_ptr(),
                &raw mut domain_length,
                &raw mut kind,
            )
        };
        let name = name.get(..usize::try_from(name_length).ok()?)?;
        (found != 0 && !name.is_empty()).then(|| String::from_utf16_lossy(name))
    }
}

/// A number from 2^30 to 2^31: everything but the last word is mixed (FNV-1a), and the last word is added, so that
/// two users of one domain never share one.
fn number(words: &[u32]) -> u32 {
    let Some((last, domain)) = words.split_last() else { return 1 << 30 };
    let mixed = domain
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    1 << 30 | (mixed.wrapping_add(*last) & ((1 << 30) - 1))
}

/// What a process or a thread acts as.
#[derive(Debug)]
pub(crate) struct Token(Handle);

impl Token {
    /// This process's.
    pub(crate) fn own() -> io::Result<Self> {
        // SAFETY: the pseudo handle of this process is always good.
        Self::of_process(unsafe { GetCurrentProcess() })
    }

    /// That of an open process.
    pub(crate) fn of_process(process: HANDLE) -> io::Result<Self> {
        let mut token = ptr::null_mut();
        // SAFETY: the pointer is written to; a bad handle is an error.
        done(unsafe { OpenProcessToken(process, TOKEN_QUERY, &raw mut token) })?;
        Handle::new(token).map(Self)
    }

    /// That of whoever has the pid now.
    pub(crate) fn of_pid(pid: u32) -> io::Result<Self> {
        // SAFETY: the call takes no memory of ours.
        let process = Handle::new(unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid) })?;
        Self::of_process(process.raw())
    }

    /// That of whom this thread impersonates.
    pub(crate) fn impersonated() -> io::Result<Self> {
        let mut token = ptr::null_mut();
        // As itself: whom it impersonates need not be allowed to open the token.
        // SAFETY: the pointer is written to; the pseudo handle of this thread is always good.
        done(unsafe { OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, 1, &raw mut token) })?;
        Handle::new(token).map(Self)
    }

    /// Its user.
    pub(crate) fn user(&self) -> Option<Sid> {
        // A pointer and the identifier of at most 68 bytes behind it. u64s, for the pointer's alignment.
        let mut buffer = [0_u64; 32];
        self.read(TokenUser, buffer.as_mut_ptr().cast(), size_of_val(&buffer))?;
        // SAFETY: the call has written a TOKEN_USER to the beginning, aligned.
        let user: TOKEN_USER = unsafe { ptr::read(buffer.as_ptr().cast()) };
        // SAFETY: it points into the buffer.
        unsafe { Sid::copy(user.User.Sid) }
    }

    /// Whether it may act as an administrator. Not by `TokenElevation`: that says yes to whoever has a mighty privilege, too, as services
    /// with few rights have (web servers may impersonate). Of an administrator who is not elevated the group is there for denials only.
    fn is_administrators(&self) -> bool {
        let mut length = 0;
        // SAFETY: no buffer is given; the length is written to.
        unsafe {
            GetTokenInformation(self.0.raw(), TokenGroups, ptr::null_mut(), 0, &raw mut length);
        }
        let size = usize::try_from(length).unwrap_or(0);
        // u64s, for the alignment of pointers.
        let mut buffer = vec![0_u64; size.div_ceil(8)];
        let size = size_of_val(&buffer[..]);
        if size < size_of::<TOKEN_GROUPS>()
            || self.read(TokenGroups, buffer.as_mut_ptr().cast(), size).is_none()
        {
            return false;
        }
        let head = buffer.as_ptr().cast::<TOKEN_GROUPS>();
        // SAFETY: the call has written a TOKEN_GROUPS to the beginning, aligned.
        let (count, first) = unsafe { ((*head).GroupCount, &raw const (*head).Groups) };
        let room = (size - offset_of!(TOKEN_GROUPS, Groups)) / size_of::<SID_AND_ATTRIBUTES>();
        let count = usize::try_from(count).map_or(0, |count| count.min(room));
        // SAFETY: the call has written so many of them there, and the buffer is that long.
        let groups = unsafe { std::slice::from_raw_parts(first.cast::<SID_AND_ATTRIBUTES>(), count) };
        groups.iter().filter(|group| group.Attributes & SE_GROUP_ENABLED.cast_unsigned() != 0).any(|group| {
            // SAFETY: it points into the buffer.
            unsafe { IsWellKnownSid(group.Sid, WinBuiltinAdministratorsSid) != 0 }
        })
    }

    /// The number that stands for its user: 0 when it may do everything.
    pub(crate) fn uid(&self) -> Option<u32> {
        let user = self.user()?;
        // Also remembered, so that a name is known of it.
        let uid = user.uid();
        Some(if self.is_administrators() { 0 } else { uid })
    }

    fn read(&self, class: TOKEN_INFORMATION_CLASS, to: *mut std::ffi::c_void, size: usize) -> Option<()> {
        let mut written = 0;
        let size = u32::try_from(size).ok()?;
        // SAFETY: both callers give a buffer of this size.
        let read = unsafe { GetTokenInformation(self.0.raw(), class, to, size, &raw mut written) };
        (read != 0).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_a_domain_have_numbers_of_their_own() {
        let domain = [0x0501, 0x0500_0000, 21, 1, 2, 3];
        let of = |rid: u32| number(&[&domain[..], &[rid]].concat());
        assert_ne!(of(1000), of(1001));
        assert!((1 << 30..1_u32 << 31).contains(&of(1000)));
        let elsewhere = number(&[0x0501, 0x0500_0000, 21, 1, 2, 4, 1000]);
        assert_ne!(of(1000), elsewhere);
    }

    #[test]
    fn this_process_has_a_user_with_a_name_and_an_identifier() {
        let token = Token::own().unwrap();
        let user = token.user().unwrap();
        assert!(user.text().unwrap().starts_with("S-1-"));
        assert_eq!(Token::of_pid(std::process::id()).unwrap().user(), Some(user.clone()));
        assert!(user.account().is_some_and(|name| !name.is_empty()));
        assert_eq!(token.uid(), Some(if token.is_administrators() { 0 } else { user.uid() }));
    }
}
