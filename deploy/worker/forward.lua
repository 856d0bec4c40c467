-- Orthanc's routing rule: results of the worker go on to the PACS ("pacs" in DicomModalities), nothing else does.
function OnStoredInstance(instanceId, tags, metadata, origin)
  if tags['ManufacturerModelName'] == 'covid-monai results' then
    SendToModality(instanceId, 'pacs')
  end
end
